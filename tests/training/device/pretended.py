"""A device that isn't there: the arithmetic is the processor's, the rules are CUDA's.

Torch lets a backend be written in Python (`PrivateUse1`). Here one is called `pretended`; its tensors say that they are
on `pretended:0`, and hold a plain tensor of the host. Every operation on them is done by the host, and its results are
on the device again. What CUDA refuses is refused, with its words:

- An operation's tensors are all on one device.
- But a tensor without dimensions may be the host's in what is computed element by element, and as the value that a
  `masked_fill`, an `index_put` or a `fill` puts in: it travels as a number.
- Indices of `x[...]` and `x[...] = y` may be the host's where x is on the device, never the other way round. (Not those
  of `gather`, `index_select`, `scatter` or `embedding`.)
- Only copies (`to`, `cpu`, `copy_`, `item`, `tolist`) go between the two; those that the host has to wait for are
  counted in `waits`.
- Numpy sees no tensor of a device.

Each is in CUDA's sources: `TensorIterator::compute_types` (`allow_cpu_scalars`, which elementwise operations set),
`expand_tensors` and `make_info` of `TensorAdvancedIndexing.cpp`, `masked_fill__cuda`, `copy_kernel_cuda`. What differs:
an elementwise operation takes the host's scalars in any place, where a few of CUDA's take them in some alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from training.runtime import device as chosen

NAME = "pretended"

COPIES = {"_to_copy", "copy_", "_local_scalar_dense", "_copy_from"}
WAITS = {"_to_copy", "_local_scalar_dense", "nonzero", "masked_select"}
PUTS_A_VALUE = {"masked_fill", "masked_fill_", "fill_", "fill", "index_fill", "index_fill_"}
INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}

waits: dict[str, int] = {}
"""How often the host waited for the device, by operation."""


class PretendedTensor(Tensor):
    """A tensor of the device; `host` is what it holds."""

    host: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor) -> "PretendedTensor":
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(NAME, 0),
        )
        made.host = host
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _performed(operation, args, dict(kwargs or {}))

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        """The host's: it tells which tensors share memory."""
        return self.host.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied = PretendedTensor(self.host.clone())
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(copied, self.requires_grad) if is_parameter else copied
        return memo[id(self)]  # type: ignore[no-any-return]

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"PretendedTensor({self.host!r})"


def device() -> torch.device:
    """The device, which is there from the first call on, for the rest of the process."""
    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME)
        # Asked for wherever layers are computed again, on whatever device.
        getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16]
        _LIBRARY.impl("empty.memory_format", _empty, "PrivateUse1")
        _LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
        _LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")
    return torch.device(NAME, 0)


@contextmanager
def on_pretended_device() -> Iterator[None]:
    """Whatever device a stage asks for in here, it gets this one."""
    there = device()
    waits.clear()
    with pytest.MonkeyPatch.context() as patch, torch.autograd.set_multithreading_enabled(False):
        patch.setattr(chosen, "found", lambda wanted: there)
        patch.setattr(chosen, "_device", there)
        # As on CUDA, tied weights stay tied when a model moves; those of a backend in Python would be copied apart.
        patch.setattr(torch.__future__, "get_swap_module_params_on_conversion", lambda: True)
        yield


_LIBRARY = torch.library.Library("aten", "IMPL")


def _empty(size: list[int], *, dtype: torch.dtype | None = None, **_: object) -> Tensor:
    return PretendedTensor(torch.empty(size, dtype=dtype))


def _empty_strided(size: list[int], stride: list[int], *, dtype: torch.dtype | None = None, **_: object) -> Tensor:
    return PretendedTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _plain(target).copy_(_plain(source))
    return target


def _performed(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operation as the host does it, once CUDA's rules allow it."""
    if _is_composed(operation):  # without autograd, as in inference mode, they come here before they are taken apart
        return operation.decompose(*args, **kwargs)
    name = operation.__name__.partition(".")[0]
    target = kwargs.get("device")
    to_host = target is not None and target.type != NAME
    if target is not None:
        kwargs["device"] = torch.device("cpu")
    of_device: dict[int, Tensor] = {}
    of_host: list[Tensor] = []
    host_args, host_kwargs = _hosts((args, kwargs), of_device, of_host)
    if of_host and name not in COPIES:
        _require_one_device(operation, name, args, of_host)
    if name in WAITS and (to_host or name != "_to_copy"):
        waits[name] = waits.get(name, 0) + 1
    done = operation(*host_args, **host_kwargs)
    if to_host or (name == "copy_" and not isinstance(args[0], PretendedTensor)):
        return done
    # A view of what was made outside of inference mode is no tensor of inference either.
    with torch.inference_mode(torch.is_inference_mode_enabled() and not operation.is_view):
        return _on_device(done, of_device)


@cache
def _is_composed(operation: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), "CompositeImplicitAutograd")


def _require_one_device(operation: Any, name: str, args: tuple[Any, ...], of_host: list[Tensor]) -> None:
    """Raises `RuntimeError` as CUDA does."""
    first_of_host = isinstance(args[0], Tensor) and not isinstance(args[0], PretendedTensor)
    if name in INDEXES and not first_of_host:
        indices = {id(tensor) for tensor in args[1]}
        of_host = [tensor for tensor in of_host if id(tensor) not in indices]
    by_element = torch.Tag.pointwise in operation.tags
    if by_element or (name in INDEXES | PUTS_A_VALUE and not first_of_host):
        of_host = [tensor for tensor in of_host if tensor.ndim > 0]
    if of_host:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! "
            f"({operation.__name__})"
        )


def _hosts(tree: Any, of_device: dict[int, Tensor], of_host: list[Tensor]) -> Any:
    """A tree with what its tensors hold. They are put in `of_device`, by what they hold; the host's in `of_host`."""
    if isinstance(tree, PretendedTensor):
        of_device[id(tree.host)] = tree
        return tree.host
    if isinstance(tree, Tensor):
        of_host.append(tree)
        return tree
    if isinstance(tree, tuple):
        return tuple([_hosts(one, of_device, of_host) for one in tree])
    if isinstance(tree, list):
        return [_hosts(one, of_device, of_host) for one in tree]
    if isinstance(tree, dict):
        return {name: _hosts(one, of_device, of_host) for name, one in tree.items()}
    return tree


def _on_device(done: Any, of_device: dict[int, Tensor]) -> Any:
    """What an operation gave; what it wrote in place is the same tensor afterwards."""
    if isinstance(done, Tensor):
        known = of_device.get(id(done))
        return PretendedTensor(done) if known is None else known
    if isinstance(done, list | tuple):
        return type(done)([_on_device(one, of_device) for one in done])
    return done


def _plain(tensor: Tensor) -> Tensor:
    return tensor.host if isinstance(tensor, PretendedTensor) else tensor
