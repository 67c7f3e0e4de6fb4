"""The corpus of images: a VM must show the very tree that a container shows (faithful.py compares that with others')."""

import corpus
import fixtures
from table import row, same

fixtures.BUILDERS.update(corpus.BUILDERS)

for name in corpus.BUILDERS:
    row(f"image/{name}", ["/.listing", "/"], image=name, options=["--cap-add=SYS_ADMIN"], stdout=None, compare=same,
        seconds=240)
