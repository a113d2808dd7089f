"""Tests against other implementations: the Autobahn|Testsuite, peers in Python, a browser."""
