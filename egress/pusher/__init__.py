"""The HTTP API of Pusher Channels, so that applications that publish to Pusher or Reverb can publish to Headgate.

Source: https://pusher.com/docs/channels/library_auth_reference/rest-api/
"""
