"""`python -m tfod` is the command `tfod`."""

import sys

from tfod._process import main

sys.exit(main())
