"""Sends mail with Python's smtplib, the way an application does.

Reads one JSON object from standard input:
  host, port, encryption ("StartTls", "Implicit" or "None"), authorities (PEM file),
  username and password (or null), sessions (connections at one time, each kept for its messages),
  forced (send AUTH although the server does not offer it),
  mails: list of {sender, recipients, text}
Writes one JSON object per mail, in the order of completion:
  number, accepted, stage, code, text
"""

import base64
import json
import smtplib
import ssl
import sys
import threading
import time

TIMEOUT = 60


def connect(plan):
    context = ssl.create_default_context(cafile=plan["authorities"] or None)
    if plan["encryption"] == "Implicit":
        server = smtplib.SMTP_SSL(plan["host"], plan["port"], timeout=TIMEOUT, context=context)
    else:
        server = smtplib.SMTP(plan["host"], plan["port"], timeout=TIMEOUT)
    if plan["encryption"] == "StartTls":
        server.starttls(context=context)
    server.ehlo_or_helo_if_needed()
    if plan["forced"]:
        login = f"\0{plan['username']}\0{plan['password']}".encode()
        code, text = server.docmd("AUTH", "PLAIN " + base64.b64encode(login).decode())
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, text)
    elif plan["username"] is not None:
        server.login(plan["username"], plan["password"])
    return server


def reply(error):
    """Stage, code and text of smtplib's exceptions."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "auth", error.smtp_code, error.smtp_error
    if isinstance(error, smtplib.SMTPSenderRefused):
        return "mail", error.smtp_code, error.smtp_error
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return "rcpt", code, text
    if isinstance(error, smtplib.SMTPDataError):
        return "data", error.smtp_code, error.smtp_error
    if isinstance(error, smtplib.SMTPConnectError):
        return "connect", error.smtp_code, error.smtp_error
    return "connection", 0, f"{type(error).__name__}: {error}"


def session(plan, numbers, lock):
    server = None
    while True:
        with lock:
            if not numbers:
                break
            number = numbers.pop(0)
        mail = plan["mails"][number]
        result = {"number": number, "accepted": True, "stage": "data", "code": 250, "text": ""}
        try:
            if server is None:
                server = connect(plan)
            server.sendmail(mail["sender"], mail["recipients"], mail["text"].encode())
        except (smtplib.SMTPException, OSError) as error:
            stage, code, text = reply(error)
            if isinstance(text, bytes):
                text = text.decode("utf-8", "replace")
            result.update(accepted=False, stage=stage, code=code, text=text)
            if stage in ("connection", "connect", "auth"):
                server = None
        with lock:
            print(json.dumps(result), flush=True)
        time.sleep(plan["pause"])
    if server is not None:
        try:
            server.quit()
        except (smtplib.SMTPException, OSError):
            pass


def main():
    plan = json.load(sys.stdin)
    numbers = list(range(len(plan["mails"])))
    lock = threading.Lock()
    threads = [
        threading.Thread(target=session, args=(plan, numbers, lock))
        for _ in range(plan["sessions"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
