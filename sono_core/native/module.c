/* sono_core.native._native: the hot path of sono_core. Multi-phase initialisation; no globals. */

#include "native.h"

#include <string.h>

static int
as_key(Py_buffer *mask, uint32_t *key)
{
    if (mask->len != 4) {
        PyErr_Format(PyExc_ValueError, "mask must be 4 bytes, not %zd", mask->len);
        return -1;
    }
    memcpy(key, mask->buf, 4);
    return 0;
}

static PyObject *
apply_mask(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "apply_mask takes 2 arguments, not %zd", count);
        return NULL;
    }
    uint32_t key;
    if (PyBytes_CheckExact(args[0]) && PyBytes_CheckExact(args[1]) &&
        PyBytes_GET_SIZE(args[1]) == 4) {
        Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
        PyObject *result = PyBytes_FromStringAndSize(NULL, size);
        if (!result)
            return NULL;
        memcpy(&key, PyBytes_AS_STRING(args[1]), 4);
        sono_mask((unsigned char *)PyBytes_AS_STRING(result),
                  (const unsigned char *)PyBytes_AS_STRING(args[0]), (size_t)size, key);
        return result;
    }
    Py_buffer data, mask;
    PyObject *result = NULL;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[1], &mask, PyBUF_SIMPLE) == 0) {
        if (as_key(&mask, &key) == 0 && (result = PyBytes_FromStringAndSize(NULL, data.len)))
            sono_mask((unsigned char *)PyBytes_AS_STRING(result), data.buf, (size_t)data.len, key);
        PyBuffer_Release(&mask);
    }
    PyBuffer_Release(&data);
    return result;
}

static PyObject *
scan_json(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "scan_json takes a str and two ints");
        return NULL;
    }
    long long max_depth = PyLong_AsLongLong(args[1]);
    long long max_containers = PyLong_AsLongLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(args[0], &size); /* the parser asks for it, too */
    if (!text)
        return NULL;
    return PyLong_FromLongLong(
        sono_scan_json((const unsigned char *)text, (size_t)size, max_depth, max_containers));
}

static PyObject *
scan_msgpack(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "scan_msgpack takes bytes, two ints and a bool");
        return NULL;
    }
    long long max_depth = PyLong_AsLongLong(args[1]);
    long long max_containers = PyLong_AsLongLong(args[2]);
    int binary = PyObject_IsTrue(args[3]);
    if (binary < 0 || PyErr_Occurred())
        return NULL;
    return PyLong_FromLongLong(sono_scan_msgpack((const unsigned char *)PyBytes_AS_STRING(args[0]),
                                                 (size_t)PyBytes_GET_SIZE(args[0]), max_depth,
                                                 max_containers, binary));
}

static PyObject *
ordinary_head(PyObject *Py_UNUSED(module), PyObject *head)
{
    if (!PyBytes_Check(head)) {
        PyErr_SetString(PyExc_TypeError, "ordinary_head takes bytes");
        return NULL;
    }
    return sono_ordinary_head(PyBytes_AS_STRING(head), (size_t)PyBytes_GET_SIZE(head));
}

PyDoc_STRVAR(apply_mask_doc,
             "apply_mask(data, mask, /)\n--\n\nSee sono_core.native.kernels.apply_mask.");
PyDoc_STRVAR(ordinary_head_doc,
             "ordinary_head(head, /)\n--\n\nSee sono_core.native.head.pure_ordinary_head.");
PyDoc_STRVAR(
    scan_json_doc,
    "scan_json(text, max_depth, max_containers, /)\n--\n\nSee sono_core.native.scan.scan_json.");
PyDoc_STRVAR(scan_msgpack_doc, "scan_msgpack(data, max_depth, max_containers, binary, /)\n--\n\n"
                               "See sono_core.native.scan_msgpack.pure_scan_msgpack.");

static PyMethodDef methods[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))apply_mask, METH_FASTCALL, apply_mask_doc},
    {"ordinary_head", ordinary_head, METH_O, ordinary_head_doc},
    {"scan_json", (PyCFunction)(void (*)(void))scan_json, METH_FASTCALL, scan_json_doc},
    {"scan_msgpack", (PyCFunction)(void (*)(void))scan_msgpack, METH_FASTCALL, scan_msgpack_doc},
    {NULL, NULL, 0, NULL},
};

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type, int public)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (!*type)
        return -1;
    return public ? PyModule_AddType(module, *type) : 0;
}

static int
module_exec(PyObject *module)
{
    sono_state *state = PyModule_GetState(module);
    if (add_type(module, &sono_rules_spec, &state->rules_type, 1) < 0 ||
        add_type(module, &sono_reader_spec, &state->reader_type, 1) < 0 ||
        add_type(module, &sono_events_spec, &state->events_type, 0) < 0 ||
        add_type(module, &sono_outbox_spec, &state->outbox_type, 1) < 0)
        return -1;
    state->api = (sono_api){
        .size = sizeof(sono_api),
        .reader_type = state->reader_type,
        .outbox_type = state->outbox_type,
        .place = sono_place,
        .placed = sono_placed,
        .borrow = sono_borrow,
        .give_back = sono_give_back,
        .deliver = sono_deliver,
        .rest = sono_rest,
        .append = sono_outbox_append,
        .append_frame = sono_outbox_append_frame,
        .slices = sono_outbox_slices,
        .advance = sono_outbox_advance,
    };
    PyObject *capsule = PyCapsule_New(&state->api, SONO_API, NULL);
    int added = capsule ? PyModule_AddObjectRef(module, "_api", capsule) : -1;
    Py_XDECREF(capsule);
    return added;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    sono_state *state = PyModule_GetState(module);
    Py_VISIT(state->rules_type);
    Py_VISIT(state->reader_type);
    Py_VISIT(state->events_type);
    Py_VISIT(state->outbox_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    sono_state *state = PyModule_GetState(module);
    Py_CLEAR(state->rules_type);
    Py_CLEAR(state->reader_type);
    Py_CLEAR(state->events_type);
    Py_CLEAR(state->outbox_type);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

struct PyModuleDef sono_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sono_core.native._native",
    .m_doc = "The hot path of sono_core, in C.",
    .m_size = sizeof(sono_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&sono_module);
}
