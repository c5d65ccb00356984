'use strict'

// Keeps mail for known recipients in one Maildir each, as it arrived but for the line ends, and
// refuses the first try for some of them.

const fs = require('node:fs')
const path = require('node:path')

exports.register = function () {
    this.settings = this.config.get('mailbox.json')
    this.seen = new Set()
}

exports.hook_rcpt = function (next, connection, [recipient]) {
    const address = recipient.address()
    if (!this.settings.recipients.includes(address)) {
        return next(DENY, 'nobody of that name lives here')
    }
    if (this.settings.greylisted.includes(address) && !this.seen.has(address)) {
        this.seen.add(address)
        return next(DENYSOFT, 'greylisted, come back')
    }
    next(OK)
}

exports.hook_queue = async function (next, { transaction }) {
    try {
        for (const recipient of transaction.rcpt_to) {
            const mailbox = path.join(this.settings.directory, recipient.address())
            const temporary = path.join(mailbox, 'tmp', transaction.uuid)
            await new Promise((resolve, reject) => {
                const file = fs.createWriteStream(temporary, { flags: 'wx' })
                file.on('finish', resolve)
                file.on('error', reject)
                transaction.message_stream.pipe(file, { line_endings: '\n' })
            })
            // Appears complete.
            fs.renameSync(temporary, path.join(mailbox, 'new', transaction.uuid))
        }
        next(OK)
    } catch (error) {
        this.logerror(error.message)
        next(DENYSOFT, 'the mailbox cannot be written')
    }
}
