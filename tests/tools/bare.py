"""The two requests of banner.py, unchecked: what tests/tools/bench measures it against."""

import os

import requests
import tweepy

setting = os.environ.__getitem__
auth = tweepy.OAuth1UserHandler(setting("consumer_key"), setting("consumer_secret"))
auth.set_access_token(setting("access_token"), setting("access_token_secret"))
picture = requests.get(setting("image_url"), timeout=60).content
tweepy.API(auth, host=setting("x_host")).update_profile_banner("banner.png", file=picture)
