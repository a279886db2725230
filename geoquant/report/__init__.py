"""Pictures and reports of codebooks: the only importer of matplotlib, an optional extra."""

try:
    from geoquant.report.images import plot_codebook, plot_frames, plot_reconstructions
    from geoquant.report.page import report_html, write_report
    from geoquant.report.paths import plot_classes, plot_codes, plot_path_and_chord
    from geoquant.report.plots import (
        plot_degrees,
        plot_distances,
        plot_edge_lengths,
        plot_elbow,
        plot_energy,
        plot_map,
        plot_stability,
        plot_usage,
    )
    from geoquant.report.study import Study, study_codebook
    from geoquant.report.words import Verdict, verdict
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "matplotlib":
        raise
    raise ImportError(
        "geoquant.report draws with matplotlib, which is not installed; "
        "install it with: pip install 'geoquant[plot]'"
    ) from error

__all__ = [
    "Study",
    "Verdict",
    "plot_classes",
    "plot_codebook",
    "plot_codes",
    "plot_degrees",
    "plot_distances",
    "plot_edge_lengths",
    "plot_elbow",
    "plot_energy",
    "plot_frames",
    "plot_map",
    "plot_path_and_chord",
    "plot_reconstructions",
    "plot_stability",
    "plot_usage",
    "report_html",
    "study_codebook",
    "verdict",
    "write_report",
]
