"""Sends one mail with a token, as an application with a projected ServiceAccount token does.

Reads one JSON object from standard input: host, port, authorities (PEM file), mechanism
("OAUTHBEARER", "XOAUTH2" or "PLAIN"), token, mail ({sender, recipients, text}).
Writes one JSON object: number, accepted, stage, code, text.
"""

import json
import smtplib
import ssl
import sys

plan = json.load(sys.stdin)
stage = "connect"
try:
    context = ssl.create_default_context(cafile=plan["authorities"])
    server = smtplib.SMTP(plan["host"], plan["port"], timeout=60)
    server.starttls(context=context)
    server.ehlo()
    stage = "auth"
    token = plan["token"]

    def oauthbearer(challenge=None):
        # RFC 7628 section 3.2.3: the answer to the explanation of a refusal.
        return "\x01" if challenge else f"n,,\x01auth=Bearer {token}\x01\x01"

    def xoauth2(challenge=None):
        return "" if challenge else f"user=token\x01auth=Bearer {token}\x01\x01"

    if plan["mechanism"] == "PLAIN":
        server.user, server.password = "token", token
        server.auth("PLAIN", server.auth_plain)
    else:
        server.auth(plan["mechanism"], oauthbearer if plan["mechanism"] == "OAUTHBEARER" else xoauth2)
    stage = "mail"
    mail = plan["mail"]
    server.sendmail(mail["sender"], mail["recipients"], mail["text"].encode())
    stage, code, text = "data", 250, ""
    server.quit()
except smtplib.SMTPSenderRefused as error:
    code, text = error.smtp_code, error.smtp_error.decode(errors="replace")
except smtplib.SMTPResponseException as error:
    code, text = error.smtp_code, error.smtp_error.decode(errors="replace")
except (OSError, smtplib.SMTPException) as error:
    code, text = 0, f"{type(error).__name__}: {error}"
print(json.dumps({"number": 0, "accepted": code == 250, "stage": stage, "code": code, "text": text}))
