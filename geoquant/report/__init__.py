"""Pictures of codes and paths: the only importer of matplotlib, which is an optional extra."""

try:
    from geoquant.report.paths import plot_codes, plot_path_and_chord
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "matplotlib":
        raise
    raise ImportError(
        "geoquant.report draws with matplotlib, which is not installed; "
        "install it with: pip install 'geoquant[plot]'"
    ) from error

__all__ = ["plot_codes", "plot_path_and_chord"]
