"""Watches versions at work: a new one beside the one before it, in calls that it got.

`stats` says what was counted, `verdict` what that means, `comparison` ties them to two versions of a module; `window`
(canary) and `watcher` (soak) say when, and what follows.
"""
