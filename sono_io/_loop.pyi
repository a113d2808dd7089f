from .reference import Carrier as Carrier
from .reference import Sender as Sender
from .reference import Turn as Turn
