/* The state of the module, and what the module offers to sono_io._loop. */

#ifndef SONO_NATIVE_H
#define SONO_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "head.h"
#include "outbox.h"
#include "reader.h"
#include "scan.h"
#include "scan_msgpack.h"

#if PY_VERSION_HEX < 0x030a00f0
#error "Python 3.10 or newer is needed"
#endif

/* For another extension: the attribute `_api` is a capsule of that name. */
#define SONO_API "sono_core.native._native._api"

typedef struct {
    size_t size; /* of this struct: both sides must have been built together */
    PyTypeObject *reader_type;
    PyTypeObject *outbox_type;
    size_t (*place)(Reader *, unsigned char **);
    void (*placed)(Reader *, size_t);
    int (*borrow)(Reader *, const unsigned char *, size_t);
    int (*give_back)(Reader *);
    int (*deliver)(Reader *, PyObject *, Outbox *, size_t, sono_share *);
    size_t (*rest)(Reader *, PyObject *);
    int (*append)(Outbox *, PyObject *);
    int (*append_frame)(Outbox *, unsigned char, PyObject *, const unsigned char *, size_t, int,
                        uint32_t);
    int (*slices)(Outbox *, sono_slice *, int);
    void (*advance)(Outbox *, size_t);
} sono_api;

typedef struct {
    PyTypeObject *rules_type;
    PyTypeObject *reader_type;
    PyTypeObject *events_type;
    PyTypeObject *outbox_type;
    sono_api api;
} sono_state;

extern struct PyModuleDef sono_module;

#endif
