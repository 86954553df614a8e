"""The command `python sts_server.py 7080`."""

from tokenserver.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
