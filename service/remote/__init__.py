"""The REST API from the command line, one command for all of it."""
