from .reference import FastTransport as FastTransport
from .reference import LoopContext as LoopContext
from .reference import Sender as Sender
