from types import ModuleType

from sono_core import Limits

from .reference import FastTransport as FastTransport
from .reference import LoopContext as LoopContext
from .reference import Sender as Sender

loop: ModuleType | None

def new_context(buffer: memoryview, limits: Limits) -> LoopContext: ...
