"""A card that the processor pretends to be: what code for a card does wrong without waiting for one.

`pretend()` makes torch count a device of its own as the card. What mixes its tensors with the processor's is
refused, as a card refuses it. What lets the processor wait for it is noted with its place, and cannot be
captured. Graphs keep their work, and do it again on what lies in the same memory.

It says nothing of speed, nor of what only a card's own kernels do: halves, determinism, memory that ends.
"""

import contextlib
import traceback

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

NAME = "card"
POSSIBLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")  # not before torch 2.9
aten = torch.ops.aten
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index_put)
LOOKING = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero, aten.equal)
FACTORIES = ("arange", "arange.start", "arange.start_step", "randperm", "randperm.generator", "linspace")


class Library:
    """What torch asks of the library of a device, as of `torch.cuda`; and what was noted.

    waits     what the processor waited for, each with the places in the package, the innermost first
    launches  kernels launched; a graph is one
    """

    def __init__(self):
        self.waits, self.launches, self.graph = [], 0, None
        self.memory = 1 << 40
        self.manual_seed = self.manual_seed_all = torch.default_generator.manual_seed
        self.get_rng_state, self.set_rng_state = torch.get_rng_state, torch.set_rng_state
        self.is_available = self.is_initialized = lambda: True
        self._is_in_bad_fork = self.empty_cache = lambda: False
        self.device_count, self.current_device = lambda: 1, lambda: 0
        self.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]

    def mem_get_info(self, device=None):
        return self.memory, self.memory

    def waited(self, what):
        stack = [f for f in reversed(traceback.extract_stack()) if "/manyhot/" in f.filename]
        places = tuple(f"{f.filename.rpartition('/manyhot/')[2]}:{f.name}" for f in stack)
        self.waits.append((what, places))
        if self.graph is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {what}")


card = Library()


class OnCard(torch.Tensor):
    """A tensor of the card; the processor holds it as `raw`."""

    @staticmethod
    def __new__(cls, raw):
        how = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, raw.size(), **how, device=f"{NAME}:0")

    def __init__(self, raw):
        self.raw = raw

    def __repr__(self):
        return f"OnCard({self.raw})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return launch(func, *args, **(kwargs or {}))

    def __deepcopy__(self, memo):
        with torch.no_grad():
            copy = OnCard(self.raw.clone())
        copy = torch.nn.Parameter(copy) if isinstance(self, torch.nn.Parameter) else copy
        return memo.setdefault(id(self), copy.requires_grad_(self.requires_grad))


class OnCardGenerator(torch.Generator):
    """A generator that says it is of the card; it draws what the processor's draws."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.of = torch.device(device)

    @property
    def device(self):
        return self.of


def raw(value):
    return value.raw if isinstance(value, OnCard) else value


def moved(source, to):
    """Copy between the two memories, or return False where it is no such copy."""
    if isinstance(source, OnCard) == to:
        return False
    if not to:
        card.waited("copied to the processor")
    elif source.dim() and not getattr(source, "pinned", False):
        card.waited("sent from memory that is not pinned")
    return True


def launch(func, *args, **kwargs):
    """Do on the processor what a card is told to do."""
    packet, device = func.overloadpacket, kwargs.get("device")
    flat, spec = pytree.tree_flatten((args, kwargs))
    there = [value for value in flat if isinstance(value, OnCard)]
    onto = bool(there) if device is None else torch.device(device).type == NAME
    if packet is aten._to_copy and moved(args[0], onto):
        how = {name: value for name, value in kwargs.items() if name not in ("device", "non_blocking")}
        found = func(raw(args[0]), **how)
        return OnCard(found) if onto else found
    if packet in (aten.copy_, aten._copy_from):
        to, source = args[:2] if packet is aten.copy_ else (args[1], args[0])
        if moved(source, isinstance(to, OnCard)):
            raw(to).copy_(raw(source))
            return to
    mixed = [v for v in flat if isinstance(v, torch.Tensor) and not isinstance(v, OnCard) and v.dim()]
    if there and mixed and packet not in INDEXING:
        raise RuntimeError(f"expected all tensors to be on the same device, found {NAME} and cpu: {func}")
    masks = packet in INDEXING and any(v is not None and v.dtype == torch.bool for v in args[1])
    if packet in LOOKING or (mixed and there) or masks:
        card.waited(str(func))
    card.launches += 1
    plain = [torch.device("cpu") if isinstance(value, torch.device) else raw(value) for value in flat]
    args, kwargs = pytree.tree_unflatten(plain, spec)
    found = func(*args, **kwargs) if card.graph is None else card.graph.note(func, args, kwargs)
    held = {id(value.raw): value for value in there}  # what changes in place stays the tensor that it was

    def wrapped(value):
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in held:
            return held[id(value)]
        return OnCard(value) if onto else value

    return pytree.tree_map(wrapped, found)


def tensors(tree):
    return [value for value in pytree.tree_leaves(tree) if isinstance(value, torch.Tensor)]


class Graph:
    """Work in the order in which it came, and what it would have changed in place."""

    def __init__(self):
        self.work, self.before = [], {}

    def note(self, func, args, kwargs):
        named = dict(zip((a.name for a in func._schema.arguments), args)) | kwargs
        written = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
        for tensor in tensors([named.get(name) for name in written]):
            self.before.setdefault(id(tensor), (tensor, tensor.clone()))
        found = func(*args, **kwargs)
        self.work.append((func, args, kwargs, tensors(found)))
        return found

    def undo(self):
        for tensor, value in self.before.values():
            tensor.copy_(value)

    @torch.no_grad()
    def replay(self):
        card.launches += 1
        for func, args, kwargs, places in self.work:
            for place, value in zip(places, tensors(func(*args, **kwargs)), strict=True):
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)


class Graphs:
    """As `train.step.CudaGraphs`."""

    def aside(self):
        return contextlib.nullcontext()

    def capture(self, act):
        card.graph = graph = Graph()
        try:
            found = act()
        finally:
            card.graph = None
        with torch.no_grad():
            graph.undo()
        return graph.replay, found


def pretend():
    """Let this process have the card, before the package is imported; settings stay the processor's."""
    import safetensors.torch

    from manyhot import config, device
    from manyhot.machine import processor

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=card)
    library = torch.library.Library("_", "IMPL")
    library.fallback(launch, "PrivateUse1")
    pretend.kept = [library, torch.library.Library("aten", "IMPL")]  # for as long as the process lives
    for name in FACTORIES:
        packet, _, overload = name.partition(".")
        func = getattr(getattr(aten, packet), overload or "default")
        pretend.kept[1].impl(name, lambda *a, func=func, **k: launch(func, *a, **k), "PrivateUse1")

    config.CHOICES["device"] = (*config.CHOICES["device"], NAME)
    device.CARD = NAME
    device.pick = lambda name: torch.device("cpu" if name == "cpu" else NAME)
    device.describe = lambda device: processor()
    from manyhot.train import step  # which imports those two

    step.CudaGraphs = Graphs

    def pin_memory(tensor):
        copy = tensor.clone()
        copy.pinned = True
        return copy

    # What torch does for devices that it knows
    made, tolist = torch.tensor, torch.Tensor.tolist
    torch.tensor = lambda data, device=None, **how: (
        made(data, **how) if device is None else made(data, **how).to(device)
    )
    torch.Tensor.tolist = lambda self: tolist(self.cpu())
    torch.Tensor.pin_memory = pin_memory
    torch.Generator, torch.inference_mode = OnCardGenerator, torch.no_grad
    for name in ("save", "save_file"):
        plain = getattr(safetensors.torch, name)
        setattr(
            safetensors.torch,
            name,
            lambda found, *a, plain=plain, **k: plain({n: t.cpu() for n, t in found.items()}, *a, **k),
        )
