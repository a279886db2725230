"""``python -m geoquant`` is the command line."""

from geoquant.cli import main

main()
