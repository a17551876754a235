/* Assertions on our own logic, always on: one condition each. Never on input from outside. */
#ifndef WEIR_BASE_ASSERT_H
#define WEIR_BASE_ASSERT_H

_Noreturn void weir_assert_failed(const char *condition, const char *file, int line, const char *function);

#define weir_assert(condition) ((condition) ? (void)0 : weir_assert_failed(#condition, __FILE__, __LINE__, __func__))

#endif
