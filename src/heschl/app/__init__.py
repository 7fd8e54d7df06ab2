"""One web page on which anybody speaks to a network and sees and hears what it relied on: `heschl app`.

`answering` holds all that it does, as plain functions; `web` draws it with gradio, which is imported only there.
"""
