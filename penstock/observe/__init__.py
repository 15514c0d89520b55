"""Metrics and structured logs."""

from penstock.observe.logs import setup_logging
from penstock.observe.meter import RequestMeter
from penstock.observe.metrics import Metrics

__all__ = ["Metrics", "RequestMeter", "setup_logging"]
