"""`python -m flows` is `bkt`."""

from flows.cli import main

main()
