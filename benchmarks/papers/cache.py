"""Results of steps in a folder, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geoquant.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Cache:
    """What steps gave, one JSON file each.

    A step leaves models and arrays in the folder first and its file last, so where there is a file
    of the same settings, the step is done; with other settings it is done anew. Changed code is
    not noticed: then remove the folder.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self._settings = json.loads(json.dumps(settings))

    def found(self, step: str) -> Any | None:
        """What a step gave, if it was done with these settings."""
        file = self.folder / f"{step}.json"
        if not file.is_file():
            return None
        record = json.loads(file.read_text(encoding="utf-8"))
        return record["result"] if record["settings"] == self._settings else None

    def once(self, step: str, make: Callable[[], Any]) -> Any:
        """What a step gave, done now if it was not; as it comes out of JSON."""
        if self.found(step) is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            record = {"settings": self._settings, "result": make()}
            text = json.dumps(record, allow_nan=False) + "\n"
            write_atomically(self.folder / f"{step}.json", text.encode())
        return self.found(step)
