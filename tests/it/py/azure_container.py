"""Makes a container in a store that speaks Azure's protocol. Standard input, JSON: endpoint (with
the account's name as its path), account, key, container. Prints the status of the answer."""

import base64
import email.utils
import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request

job = json.load(sys.stdin)
account, container = job["account"], job["container"]
date = email.utils.formatdate(usegmt=True)
headers = f"x-ms-date:{date}\nx-ms-version:2021-12-02"
# In an emulator's addresses the account is a part of the path as well.
resource = f"/{account}/{account}/{container}\nrestype:container"
text = "PUT" + "\n" * 12 + headers + "\n" + resource
key = base64.b64decode(job["key"])
signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(
    f"{job['endpoint']}/{container}?restype=container",
    method="PUT",
    headers={
        "x-ms-date": date,
        "x-ms-version": "2021-12-02",
        "Authorization": f"SharedKey {account}:{signature}",
    },
)
try:
    status = urllib.request.urlopen(request, timeout=10).status
except urllib.error.HTTPError as error:
    status = error.code
    print(error.read().decode("utf-8", "replace"), file=sys.stderr)
except OSError as error:
    status = 0
    print(error, file=sys.stderr)
json.dump(status, sys.stdout)
