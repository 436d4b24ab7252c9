"""Submissions over HTTP: what a request holds, what is answered, and the intake that accepts them.

`bodies` and `answers` are pure. `endpoints` serves them on the admin port, which checks hosts and tokens before that.
"""
