"""What knows pytest: options, hooks, fixtures, what a run hands out and how it ends.

It may import all rooms but `cli`; `hooks` loads them when a test uses the plugin, so that an idle
plugin costs nothing.
"""

# An installation from before `hooks` had a file of its own names this package as its plugin, and
# pytest loads what a plugin lists here.
pytest_plugins = ("pytest_edgequant.plugin.hooks",)
