/* _loop: what transports do for every message, in C; for servers and clients alike. */

#include "loop.h"

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type ? PyModule_AddType(module, *type) : -1;
}

static int
module_exec(PyObject *module)
{
    sono_loop_state *state = PyModule_GetState(module);
    const sono_api *api = PyCapsule_Import(SONO_API, 0);
    if (!api)
        return -1;
    if (api->size != sizeof *api) {
        PyErr_SetString(PyExc_ImportError, "sono_core.native._native is of another version");
        return -1;
    }
    if (!(state->core = PyImport_ImportModule("sono_core.native._native")))
        return -1;
    if (add_type(module, &sono_context_spec, &state->context_type) < 0 ||
        add_type(module, &sono_transport_spec, &state->transport_type) < 0 ||
        add_type(module, &sono_sender_spec, &state->sender_type) < 0)
        return -1;
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    sono_loop_state *state = PyModule_GetState(module);
    Py_VISIT(state->core);
    Py_VISIT(state->context_type);
    Py_VISIT(state->transport_type);
    Py_VISIT(state->sender_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    sono_loop_state *state = PyModule_GetState(module);
    Py_CLEAR(state->core);
    Py_CLEAR(state->context_type);
    Py_CLEAR(state->transport_type);
    Py_CLEAR(state->sender_type);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

struct PyModuleDef sono_loop_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sono_io._loop",
    .m_doc = "What transports do for every message, in C.",
    .m_size = sizeof(sono_loop_state),
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__loop(void)
{
    return PyModuleDef_Init(&sono_loop_module);
}
