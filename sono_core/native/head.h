/* The head of an ordinary request, read without h11; see head.py. */

#ifndef SONO_HEAD_H
#define SONO_HEAD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A tuple of the target and the fields; None if the head is not ordinary, NULL with an exception. */
PyObject *sono_ordinary_head(const char *head, size_t size);

#endif
