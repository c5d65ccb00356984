'use strict'

// For benchmarks: relays for everybody, to one place when the configuration names one.

exports.register = function () {
    const { exchange, port } = this.config.get('bench.json')
    if (exchange) {
        this.hook_get_mx = (next) => next(OK, { priority: 0, exchange, port })
        this.register_hook('get_mx', 'hook_get_mx')
    }
}

exports.hook_connect = function (next, connection) {
    connection.relaying = true
    next()
}

exports.hook_rcpt = function (next) {
    next(OK)
}
