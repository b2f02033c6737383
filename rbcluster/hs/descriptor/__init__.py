"""Onion-service descriptors: read and verify any, write one that tor can't be told from.

    outer layer   signed; what an HSDir sees              outer.py
      |- middle   encrypted to who knows the address      middle.py
           |- inner  encrypted to authorized clients      inner.py, intro_point_codec.py

Syntax is in `document.py`, encryption in `layer_crypto.py`. `open.py` puts the layers apart,
`build.py` together; `derived_keys.py` says which keys outlive a single build, `succession.py` which
fetched one may take the place of the last.

Not here: which introduction points to publish, when and where (`core/`).

Spec: rend-spec-v3 2.4 [DESC-OUTER], 2.5 [HS-DESC-ENC].
"""

from rbcluster.hs.descriptor.build import DescriptorContent, build_descriptor
from rbcluster.hs.descriptor.link_specifiers import relay_addresses, relay_ed25519_id
from rbcluster.hs.descriptor.open import (
    Descriptor,
    LayerSizes,
    find_period,
    open_descriptor,
    read_blinded_key,
    read_revision,
)
from rbcluster.hs.descriptor.succession import Standing, open_successor

__all__ = [
    "Descriptor",
    "DescriptorContent",
    "LayerSizes",
    "Standing",
    "build_descriptor",
    "find_period",
    "open_descriptor",
    "open_successor",
    "read_blinded_key",
    "read_revision",
    "relay_addresses",
    "relay_ed25519_id",
]
