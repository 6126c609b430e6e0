"""`python -m service.cli`."""

from service.cli.command import main

main()
