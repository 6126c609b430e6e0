// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title What a holder may sign and anybody may send.
/// @notice ERC-3009 for more than one kind of act. All kinds share the holder's free 32-byte nonces: one nonce
/// serves one act, whichever it is, and `cancelAuthorization` withdraws any. Who sends the
/// transaction gains no power by it.
abstract contract Authorized is ERC3009 {
    bytes32 private constant APPROVE_TYPEHASH =
        keccak256(
            "ApproveWithAuthorization(address owner,address spender,uint256 value,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
    bytes32 private constant BATCH_TRANSFER_TYPEHASH =
        keccak256(
            "BatchTransferWithAuthorization(address from,address[] to,uint256[] amounts,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );

    /// @notice A batch names as many receivers as amounts.
    /// @param receivers How many receivers were given.
    /// @param amounts How many amounts were given.
    error LengthMismatch(uint256 receivers, uint256 amounts);

    /// @notice Sets an allowance that the owner signed. Unlike `permit` it takes a free nonce, so that signatures need
    /// no order among themselves and one that never arrives holds up no other.
    /// @param owner The signer.
    /// @param spender Who may spend.
    /// @param value The new allowance.
    /// @param validAfter The signature serves after this time (seconds).
    /// @param validBefore The signature serves before this time (seconds).
    /// @param nonce Any value that the owner never used.
    /// @param v The signature's recovery id.
    /// @param r The signature's first word.
    /// @param s The signature's second word.
    function approveWithAuthorization(
        address owner,
        address spender,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 digest = keccak256(
            abi.encode(APPROVE_TYPEHASH, owner, spender, value, validAfter, validBefore, nonce)
        );
        _requireSignature(owner, digest, v, r, s);
        _useAuthorization(owner, validAfter, validBefore, nonce);
        _approve(owner, spender, value);
    }

    /// @notice Makes several transfers, all or none.
    /// @param to The receivers.
    /// @param amounts Base units for each receiver.
    function batchTransfer(address[] calldata to, uint256[] calldata amounts) external {
        _batchTransfer(_msgSender(), to, amounts);
    }

    /// @notice Makes several transfers that the holder signed, all or none.
    /// @param from The signer.
    /// @param to The receivers.
    /// @param amounts Base units for each receiver.
    /// @param validAfter The signature serves after this time (seconds).
    /// @param validBefore The signature serves before this time (seconds).
    /// @param nonce Any value that the holder never used.
    /// @param v The signature's recovery id.
    /// @param r The signature's first word.
    /// @param s The signature's second word.
    function batchTransferWithAuthorization(
        address from,
        address[] calldata to,
        uint256[] calldata amounts,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _requireSignature(from, _batchHash(from, to, amounts, validAfter, validBefore, nonce), v, r, s);
        _useAuthorization(from, validAfter, validBefore, nonce);
        _batchTransfer(from, to, amounts);
    }

    /// @dev Moves units by the holder's own will; a token with rules overrides it, and so covers every signed transfer.
    function _moveByHolder(address from, address to, uint256 amount) internal virtual {
        _transfer(from, to, amount);
    }

    /// @dev Behind OpenZeppelin's two signed transfers, which have checked the signature.
    function _transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) internal override {
        _useAuthorization(from, validAfter, validBefore, nonce);
        _moveByHolder(from, to, value);
    }

    /// @dev Refuses unless `signer` signed the typed data that hashes to `structHash`.
    function _requireSignature(address signer, bytes32 structHash, uint8 v, bytes32 r, bytes32 s) internal view {
        require(signer == ECDSA.recover(_hashTypedDataV4(structHash), v, r, s), ERC3009InvalidSignature());
    }

    /// @dev Burns the nonce of a signature that serves now.
    function _useAuthorization(address signer, uint256 validAfter, uint256 validBefore, bytes32 nonce) internal {
        _checkValidity(validAfter, validBefore);
        _consumeNonce(signer, nonce);
        emit AuthorizationUsed(signer, nonce);
    }

    /// @dev Refuses a batch whose lists differ in length.
    function _requireSameLength(uint256 receivers, uint256 amounts) internal pure {
        require(receivers == amounts, LengthMismatch(receivers, amounts));
    }

    function _batchTransfer(address from, address[] calldata to, uint256[] calldata amounts) private {
        _requireSameLength(to.length, amounts.length);
        for (uint256 i = 0; i < to.length; ++i) _moveByHolder(from, to[i], amounts[i]);
    }

    /// @dev EIP-712 hashes a list as its elements in a row, each in 32 bytes.
    function _batchHash(
        address from,
        address[] calldata to,
        uint256[] calldata amounts,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) private pure returns (bytes32) {
        bytes32 receivers = keccak256(abi.encodePacked(to));
        bytes32 values = keccak256(abi.encodePacked(amounts));
        return
            keccak256(
                abi.encode(BATCH_TRANSFER_TYPEHASH, from, receivers, values, validAfter, validBefore, nonce)
            );
    }
}
