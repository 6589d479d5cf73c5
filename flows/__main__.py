"""`python -m flows` is `bkt`."""

from flows.cli.app import main

main()
