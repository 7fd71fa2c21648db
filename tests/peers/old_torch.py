"""Lets transformers 4.51 load with Debian's PyTorch 1.13: import this before transformers.

The wheels of newer PyTorch pull gigabytes of GPU libraries. This module defines names that transformers asks for at import, and two
arguments of torch.nn.Module that PyTorch 2 has; nothing that computes is changed. With PyTorch 2 it does nothing.
"""
import sys
import types

import torch


def _module(name, **content):
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    setattr(sys.modules[parent], last, module)


def _named_parameters(plain):
    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        if remove_duplicate:
            yield from plain(self, prefix, recurse)
            return
        for name, module in self.named_modules(prefix=prefix, remove_duplicate=False):
            for key, value in module._parameters.items():
                if value is not None:
                    yield (name + "." if name else "") + key, value
    return named_parameters


def _load_state_dict(plain):
    def load_state_dict(self, state, strict=True, assign=False):
        if not assign:
            return plain(self, state, strict)
        for key, value in state.items():
            old = getattr(self, key)
            new = torch.nn.Parameter(value, requires_grad=old.requires_grad) if isinstance(old, torch.nn.Parameter) else value
            setattr(self, key, new)
        return None
    return load_state_dict


if torch.__version__.startswith("1."):
    _module("torch.distributed.tensor", DTensor=type("DTensor", (), {}))
    _module("torch.compiler", is_compiling=lambda: False,
            disable=lambda function=None, recursive=True: function if function is not None else lambda f: f)
    torch.float8_e4m3fn = torch.float8_e5m2 = None
    torch.distributed.is_available = lambda: False
    torch.nn.Module.named_parameters = _named_parameters(torch.nn.Module.named_parameters)
    torch.nn.Module.load_state_dict = _load_state_dict(torch.nn.Module.load_state_dict)
