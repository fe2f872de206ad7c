"""Where git.pyz begins."""

from agent.git.program import start

start()
