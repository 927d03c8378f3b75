"""How idle threads wait: PyTorch's, spinning, would compete with the kernels' own, which is several times slower.

It must be said before PyTorch loads its pool, so it is nothing once torch has been imported.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
