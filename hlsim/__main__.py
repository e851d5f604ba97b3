"""``python -m hlsim`` is the command line."""

from hlsim.cli import main

if __name__ == "__main__":
    main()
