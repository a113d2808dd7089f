/* Sender: a message from the application into the outbox. RFC 6455, section 5.6.
 *
 * It handles the ordinary case alone: an uncompressed message, in the loop's thread, to a peer that
 * keeps up. For everything else it calls the WebSocket's method `send_fallback`, which also raises
 * what is wrong with a message.
 */

#include "loop.h"

#include <pythread.h>
#include <string.h>
#include <structmember.h>

/* The transport if it writes as C does; NULL if it writes in its own way. */
static FastTransport *
as_transport(const Sender *self)
{
    sono_loop_state *state = PyType_GetModuleState(Py_TYPE(self->context));
    return PyObject_TypeCheck(self->transport, state->transport_type)
               ? (FastTransport *)self->transport
               : NULL;
}

/* Schedules a flush, before the first message is put into an empty outbox. */
static int
write_soon(Sender *self)
{
    FastTransport *transport = as_transport(self);
    if (transport)
        return sono_transport_write_soon(transport);
    PyObject *done = PyObject_CallMethod(self->transport, "write_soon", NULL);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* What the functions below return, or -1 with an exception. */
enum { NOT_HERE, SENT, GIVEN_UP };

/* Whether a message may be added. If too much waits with it, `transport` is set, and must write at
 * once. */
static bool
may_add(const Sender *self, size_t size, FastTransport **transport)
{
    *transport = NULL;
    if (size > self->plain)
        return false;
    if (sono_outbox_weight(self->outbox) + size + SONO_MAX_HEADER <= self->outbox->room)
        return true;
    *transport = as_transport(self);
    return *transport && (*transport)->reader;
}

/* Writes a long queue at once; if that does not help, the session decides. */
static int
enforce_queue_limit(Sender *self, FastTransport *transport, size_t waited)
{
    sono_transport_write(transport); /* an error comes again at the flush */
    if (sono_outbox_weight(self->outbox) <= self->outbox->room)
        return SENT;
    PyObject *kept = PyObject_CallMethod(transport->session, "enforce_queue_limit", "n",
                                         (Py_ssize_t)waited);
    Py_XDECREF(kept);
    return !kept ? -1 : kept == Py_True ? SENT : GIVEN_UP;
}

/* A client's masking key (section 5.3). */
static int
fresh_key(PyObject *keys, uint32_t *key)
{
    PyObject *bytes = PyObject_CallNoArgs(keys);
    if (!bytes)
        return -1;
    int right = PyBytes_CheckExact(bytes) && PyBytes_GET_SIZE(bytes) == sizeof *key;
    if (right)
        memcpy(key, PyBytes_AS_STRING(bytes), sizeof *key);
    else
        PyErr_SetString(PyExc_TypeError, "keys must give 4 bytes");
    Py_DECREF(bytes);
    return right ? 0 : -1;
}

static int
send_payload(Sender *self, int opcode, PyObject *owner, const void *data, size_t size)
{
    FastTransport *transport;
    if (!may_add(self, size, &transport))
        return NOT_HERE;
    size_t waited = self->outbox->size;
    if (!waited && write_soon(self) < 0)
        return -1;
    uint32_t key = 0;
    if (self->keys && fresh_key(self->keys, &key) < 0)
        return -1;
    if (self->context->api->append_frame(self->outbox, (unsigned char)(SONO_FIN | opcode), owner,
                                         data, size, self->keys != NULL, key) < 0)
        return -1;
    return transport ? enforce_queue_limit(self, transport, waited) : SENT;
}

static int
send_text(Sender *self, PyObject *text)
{
    if (PyUnicode_IS_COMPACT_ASCII(text))
        return send_payload(self, SONO_TEXT, text, PyUnicode_DATA(text),
                            (size_t)PyUnicode_GET_LENGTH(text));
    if ((size_t)PyUnicode_GET_LENGTH(text) >
        self->plain) /* it has no fewer bytes than characters */
        return NOT_HERE;
    PyObject *bytes = PyUnicode_AsUTF8String(text);
    if (!bytes) { /* a lone surrogate */
        PyErr_Clear();
        return NOT_HERE;
    }
    int done = send_payload(self, SONO_TEXT, bytes, PyBytes_AS_STRING(bytes),
                            (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return done;
}

/* Keeps the frame of a message that is about to go to many peers. */
static int
keep_prepared(LoopContext *context, PyObject *prepared)
{
    if (context->prepared == prepared)
        return 0;
    PyObject *frame = PyObject_CallMethod(prepared, "frame", NULL);
    PyObject *payload = frame ? PyObject_GetAttrString(prepared, "payload") : NULL;
    Py_ssize_t size = payload ? PyObject_Size(payload) : -1;
    Py_XDECREF(payload);
    if (size < 0 || !PyBytes_CheckExact(frame)) {
        Py_XDECREF(frame);
        return -1;
    }
    Py_XSETREF(context->frame, frame);
    Py_XSETREF(context->prepared, Py_NewRef(prepared));
    context->prepared_size = (size_t)size;
    return 0;
}

static int
send_prepared(Sender *self, PyObject *prepared)
{
    LoopContext *context = self->context;
    FastTransport *transport;
    if (keep_prepared(context, prepared) < 0)
        return -1;
    if (self->keys ||
        !may_add(self, context->prepared_size, &transport)) /* keys: no frame is shared */
        return NOT_HERE;
    size_t waited = self->outbox->size;
    if (!waited && write_soon(self) < 0)
        return -1;
    if (context->api->append(self->outbox, context->frame) < 0)
        return -1;
    return transport ? enforce_queue_limit(self, transport, waited) : SENT;
}

static PyObject *
sender_send(PyObject *object, PyObject *message)
{
    Sender *self = (Sender *)object;
    LoopContext *context = self->context;
    int done = NOT_HERE;
    if (!sono_initialised(context))
        return NULL;
    if (context->thread == PyThread_get_thread_ident() && self->outbox->room) {
        if (PyUnicode_CheckExact(message))
            done = PyUnicode_READY(message) < 0 ? -1 : send_text(self, message);
        else if (PyBytes_CheckExact(message))
            done = send_payload(self, SONO_BINARY, message, PyBytes_AS_STRING(message),
                                (size_t)PyBytes_GET_SIZE(message));
        else if ((PyObject *)Py_TYPE(message) == context->prepared_type)
            done = send_prepared(self, message);
    }
    if (done < 0)
        return NULL;
    if (done) {
        context->sent++;
        return PyBool_FromLong(done == SENT);
    }
    context->sent_fallback++;
    return PyObject_CallMethod(object, "send_fallback", "O", message);
}

/* -- the type ------------------------------------------------------------------------------ */

static int
sender_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"context", "transport", "outbox", "plain", "keys", NULL};
    Sender *self = (Sender *)object;
    PyObject *context, *transport, *outbox, *keys = Py_None;
    Py_ssize_t plain;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOn|O", names, &context, &transport, &outbox,
                                     &plain, &keys))
        return -1;
    if (!sono_is_context(context) ||
        Py_TYPE(outbox) != ((LoopContext *)context)->api->outbox_type) {
        PyErr_SetString(PyExc_TypeError, "the context and the outbox must be native");
        return -1;
    }
    Py_XSETREF(self->context, (LoopContext *)Py_NewRef(context));
    Py_XSETREF(self->transport, Py_NewRef(transport));
    Py_XSETREF(self->outbox, (Outbox *)Py_NewRef(outbox));
    Py_XSETREF(self->keys, keys == Py_None ? NULL : Py_NewRef(keys));
    self->plain = (size_t)plain;
    return 0;
}

static int
sender_traverse(PyObject *object, visitproc visit, void *arg)
{
    Sender *self = (Sender *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->context);
    Py_VISIT(self->transport);
    Py_VISIT(self->keys);
    return 0;
}

static void
sender_dealloc(PyObject *object)
{
    Sender *self = (Sender *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->context);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->outbox);
    Py_CLEAR(self->keys);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(send_doc, "send(message, /)\n--\n\nSee sono_io.reference.Sender.");

static PyMethodDef sender_methods[] = {
    {"send", sender_send, METH_O, send_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sender_slots[] = {
    {Py_tp_new, PyType_GenericNew},  {Py_tp_init, sender_init},
    {Py_tp_dealloc, sender_dealloc}, {Py_tp_traverse, sender_traverse},
    {Py_tp_methods, sender_methods}, {0, NULL},
};

PyType_Spec sono_sender_spec = {
    .name = "sono_io._loop.Sender",
    .basicsize = sizeof(Sender),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = sender_slots,
};
