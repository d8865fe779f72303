"""Networks: each is called as net(given, context)."""

from vae_lab.networks.architecture import Architecture
from vae_lab.networks.context import OneHot, StandardisedRows
from vae_lab.networks.conv import ConvArchitecture
from vae_lab.networks.mlp import Mlp, MlpArchitecture

__all__ = ["Architecture", "ConvArchitecture", "Mlp", "MlpArchitecture", "OneHot", "StandardisedRows"]
