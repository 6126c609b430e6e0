// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title Signed orders that anybody may bring, each of which is executed at most once.
/// @notice The names and shapes are those of ERC-3009, which OpenZeppelin ties to ERC-20. A nonce is any 32 bytes, so
/// orders need no sequence; the signer may burn one before it is used.
/// @dev Validity is in seconds since 1970 and in nothing else: there is no mode that counts blocks.
abstract contract DeedAuthorizations is EIP712 {
    bytes32 private constant CANCEL_TYPEHASH = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");

    mapping(address authorizer => mapping(bytes32 nonce => bool)) private _used;

    /// @notice An order was executed.
    /// @param authorizer Who signed it.
    /// @param nonce Its nonce, now burned.
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);

    /// @notice An order will never be executed.
    /// @param authorizer Who would have signed it.
    /// @param nonce Its nonce, now burned.
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    /// @notice The signature is not the one of the account that it is said to be of.
    error ERC3009InvalidSignature();

    /// @notice It is too early or too late for the order.
    /// @param validAfter The second after which it may be executed.
    /// @param validBefore The second before which it may be executed.
    error ERC3009InvalidAuthorizationTime(uint256 validAfter, uint256 validBefore);

    /// @notice The nonce is burned.
    /// @param authorizer Who signed.
    /// @param nonce The nonce.
    error ERC3009UsedAuthorization(address authorizer, bytes32 nonce);

    /// @notice Burns a nonce, so that no order with it is ever executed. Works during a pause too.
    /// @param authorizer Whose nonce.
    /// @param nonce The nonce.
    /// @param v The signature's recovery id.
    /// @param r The signature's first half.
    /// @param s The signature's second half.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        _requireSigned(authorizer, keccak256(abi.encode(CANCEL_TYPEHASH, authorizer, nonce)), v, r, s);
        _burnNonce(authorizer, nonce);
        emit AuthorizationCanceled(authorizer, nonce);
    }

    /// @notice Whether a nonce is burned, by use or by cancellation.
    /// @param authorizer Whose nonce.
    /// @param nonce The nonce.
    /// @return True if no order with it will be executed any more.
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool) {
        return _used[authorizer][nonce];
    }

    /// @dev An account of code cannot sign so; it calls by itself.
    function _requireSigned(address signer, bytes32 structHash, uint8 v, bytes32 r, bytes32 s) internal view {
        require(signer == ECDSA.recover(_hashTypedDataV4(structHash), v, r, s), ERC3009InvalidSignature());
    }

    /// @dev Both bounds are exclusive, as in ERC-3009.
    function _useAuthorization(address authorizer, bytes32 nonce, uint256 validAfter, uint256 validBefore) internal {
        require(
            block.timestamp > validAfter && block.timestamp < validBefore,
            ERC3009InvalidAuthorizationTime(validAfter, validBefore)
        );
        _burnNonce(authorizer, nonce);
        emit AuthorizationUsed(authorizer, nonce);
    }

    function _burnNonce(address authorizer, bytes32 nonce) private {
        require(!_used[authorizer][nonce], ERC3009UsedAuthorization(authorizer, nonce));
        _used[authorizer][nonce] = true;
    }
}
