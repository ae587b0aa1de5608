"""``python -m lucida`` is the command ``lucida``."""

from lucida.cli import main

if __name__ == "__main__":
    main()
