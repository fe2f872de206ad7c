"""What gunicorn and `flask --app wsgi` load."""

import sys

from webapp import create_app
from webapp.config import SettingsError

try:
    app = create_app()
except SettingsError as error:
    sys.exit(f"GarageSwarm can't start: {error}")
