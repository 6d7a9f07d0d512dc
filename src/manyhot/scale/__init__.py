"""Answers past one process or machine: `folder` plans, `engines` schedule, `job` answers one unit."""
