const fs = require("node:fs");
const nodemailer = require("nodemailer");

const relay = nodemailer.createTransport({
  host: process.env.SMTP_HOST,
  port: Number(process.env.SMTP_PORT),
  requireTLS: true,
  tls: { ca: fs.readFileSync(process.env.SMTP_CA) },
  auth: {
    user: "token",
    // Read anew for each connection: the kubelet renews the file.
    pass: fs.readFileSync(process.env.SMTP_TOKEN, "utf8").trim(),
  },
});

relay
  .sendMail({
    from: "orders@shop.example",
    to: "ada@reader.example",
    subject: "Your order",
    text: "It is on its way.\n",
  })
  .catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
