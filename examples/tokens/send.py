import os
import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path

message = EmailMessage()
message["From"] = "orders@shop.example"
message["To"] = "ada@reader.example"
message["Subject"] = "Your order"
message.set_content("It is on its way.\n")

with smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]), timeout=30) as relay:
    relay.starttls(context=ssl.create_default_context(cafile=os.environ["SMTP_CA"]))
    # Read anew for each connection: the kubelet renews the file.
    relay.login("token", Path(os.environ["SMTP_TOKEN"]).read_text().strip())
    relay.send_message(message)
