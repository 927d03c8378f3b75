// What crosses the C boundary: structures and functions that keep the text of their declarations, which library.py
// compares with its own, and causes of failure in place of exceptions.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>
#include <system_error>

namespace hsmm {

// Mirrored in library.py.
enum class Cause : int { none, no_memory, refused_by_system, unforeseen };

template <class Work>
int guarded(Work work) noexcept {
    Cause cause = Cause::none;
    try {
        work();
    } catch (const std::bad_alloc&) {
        cause = Cause::no_memory;
    } catch (const std::length_error&) {  // more than can be addressed
        cause = Cause::no_memory;
    } catch (const std::system_error&) {
        cause = Cause::refused_by_system;
    } catch (...) {
        cause = Cause::unforeseen;
    }
    return int(cause);
}

}  // namespace hsmm

// A structure of numbers and pointers, mirrored field by field in interface.py: HSMM_STRUCTURE(Name, members).
#define HSMM_STRUCTURE(name, ...) \
    struct name {                 \
        __VA_ARGS__               \
    };                            \
    inline constexpr const char* name##_declaration = #name "{" #__VA_ARGS__ "}"

// A function that takes pointers to such structures and returns a Cause: HSMM_FUNCTION(name, (parameters), body).
#define HSMM_FUNCTION(name, parameters, ...)                                \
    extern "C" int name parameters { return hsmm::guarded([&] __VA_ARGS__); } \
    inline constexpr const char* name##_declaration = #name #parameters
