"""`python -m tokenserver 7080`."""

from tokenserver.cli import main

raise SystemExit(main())
