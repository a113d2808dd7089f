/* What the parts of the extension share. */

#ifndef SONO_NATIVE_H
#define SONO_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "frames.h"
#include "mask.h"
#include "utf8.h"

#if PY_VERSION_HEX < 0x030a00f0
#error "Python 3.10 or newer is needed"
#endif

typedef struct {
    PyTypeObject *reader_type;
    PyTypeObject *events_type;
} sono_state;

extern struct PyModuleDef sono_module;
extern PyType_Spec sono_reader_spec;
extern PyType_Spec sono_events_spec;

#endif
