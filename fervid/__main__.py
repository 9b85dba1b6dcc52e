"""`python -m fervid` is `fervid`."""

from fervid.cli import main

if __name__ == "__main__":
    main()
