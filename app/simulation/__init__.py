"""Simulated annotators that use the product through its public pages, and the closed loop that they drive.

Everything here judges by the starter's gold rule. Nothing that trains imports it.
"""
