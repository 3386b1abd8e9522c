"""Signed checkpoints of the log: what an auditor keeps elsewhere, and how it is verified."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from app.core.log_chain import Block
